"""Creates deployments with azure-iot-hub 2.7; run by an interpreter that has it.

Arguments: the service connection string. Standard input: a JSON list of configurations. Prints the id of each
and how many devices it applies to.
"""

import json
import sys

from azure.iot.hub import IoTHubConfigurationManager
from azure.iot.hub.models import Configuration, ConfigurationContent, ConfigurationMetrics


def main(connection_string):
    manager = IoTHubConfigurationManager.from_connection_string(connection_string)
    for one in json.load(sys.stdin):
        made = manager.create_configuration(
            Configuration(
                id=one["id"],
                schema_version="2.0",
                labels=one.get("labels"),
                content=ConfigurationContent(modules_content=one["content"]["modulesContent"]),
                metrics=ConfigurationMetrics(queries=one.get("metrics", {}).get("queries")),
                target_condition=one["targetCondition"],
                priority=one["priority"],
            )
        )
        print(made.id, made.system_metrics.results["appliedCount"])


if __name__ == "__main__":
    main(*sys.argv[1:])
