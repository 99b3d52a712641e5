"""A hook of schemathesis: no request waits for a message or a device that will not come."""

import schemathesis


@schemathesis.hook
def before_call(_context, case, _kwargs) -> None:
    if isinstance(case.query, dict) and "wait" in case.query and str(case.query["wait"]).isdigit():
        case.query["wait"] = 0
    timeout = "connectTimeoutInSeconds"
    if isinstance(case.body, dict) and isinstance(case.body.get(timeout), int | float):
        case.body[timeout] = min(case.body[timeout], 0)
