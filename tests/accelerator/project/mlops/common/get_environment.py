"""The environment that steps run in, registered in the workspace."""

from azure.ai.ml import MLClient
from azure.ai.ml.entities import Environment
from azure.identity import DefaultAzureCredential


def get_environment(subscription, resource_group, workspace, image, conda, name):
    client = MLClient(DefaultAzureCredential(), subscription, resource_group, workspace)
    return client.environments.create_or_update(Environment(image=image, conda_file=conda, name=name))
