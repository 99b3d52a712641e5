"""Builds the training pipeline of nyc_taxi and submits it to Azure ML."""

import argparse
import os

from azure.ai.ml import Input, MLClient, load_component
from azure.ai.ml.dsl import pipeline
from azure.identity import DefaultAzureCredential
from mlops.common.get_compute import get_compute
from mlops.common.get_environment import get_environment

STEPS = ("prep", "transform", "train", "predict", "score", "register")
OPTIONS = (
    "subscription_id",
    "resource_group_name",
    "workspace_name",
    "cluster_name",
    "cluster_size",
    "conda_path",
    "env_base_image_name",
    "environment_name",
    "display_name",
    "experiment_name",
    "deploy_environment",
    "build_reference",
    "model_name",
)
parts = {}


@pipeline()
def fares(raw_trips, model_name, build_reference):
    prepared = parts["prep"](raw_data=raw_trips)
    features = parts["transform"](clean_data=prepared.outputs.prep_data)
    trained = parts["train"](training_data=features.outputs.transformed_data)
    predicted = parts["predict"](
        model_input=trained.outputs.model_output, test_data=trained.outputs.test_data
    )
    scored = parts["score"](predictions=predicted.outputs.predictions, model=trained.outputs.model_output)
    parts["register"](
        model_metadata=trained.outputs.model_metadata,
        model_name=model_name,
        score_report=scored.outputs.score_report,
        build_reference=build_reference,
    )
    return {
        "prepared_trips": prepared.outputs.prep_data,
        "report": scored.outputs.score_report,
    }


def build(options, compute, environment):
    folder = os.path.join(os.getcwd(), "mlops/nyc_taxi/components")
    for name in STEPS:
        parts[name] = load_component(source=os.path.join(folder, name + ".yml"))
        parts[name].environment = environment
    job = fares(
        Input(type="uri_folder", path="mlops/nyc_taxi/data/"), options.model_name, options.build_reference
    )
    job.display_name = options.display_name
    job.tags = {"environment": options.deploy_environment, "build_reference": options.build_reference}
    job.outputs.prepared_trips.mode = "rw_mount"
    job.settings.default_compute = compute
    job.settings.default_datastore = "workspaceblobstore"
    job.settings.force_rerun = True
    return job


def main():
    parser = argparse.ArgumentParser()
    for name in OPTIONS:
        parser.add_argument("--" + name, required=True)
    options = parser.parse_args()
    where = (options.subscription_id, options.resource_group_name, options.workspace_name)
    compute = get_compute(*where, options.cluster_name, options.cluster_size)
    environment = get_environment(
        *where, options.env_base_image_name, options.conda_path, options.environment_name
    )
    job = build(options, compute.name, f"azureml:{environment.name}:{environment.version}")
    client = MLClient(DefaultAzureCredential(), *where)
    job = client.jobs.create_or_update(job, experiment_name=options.experiment_name)
    client.jobs.stream(job.name)


if __name__ == "__main__":
    main()
