"""The cluster that steps run on, made when it is missing."""

from azure.ai.ml import MLClient
from azure.ai.ml.entities import AmlCompute
from azure.identity import DefaultAzureCredential


def get_compute(subscription, resource_group, workspace, name, size):
    client = MLClient(DefaultAzureCredential(), subscription, resource_group, workspace)
    try:
        return client.compute.get(name)
    except Exception:  # noqa: BLE001
        return client.compute.begin_create_or_update(AmlCompute(name=name, size=size)).result()
