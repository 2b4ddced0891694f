"""The rules in a custom resource's schema (x-kubernetes-validations, in CEL), which an API server holds a resource against.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

import cel


def broken(schema, value, path=""):
    """What is wrong with `value`: one line a rule that it breaks, or that cannot be evaluated."""
    if not isinstance(schema, dict):
        return []
    found = []
    for entry in schema.get("x-kubernetes-validations", []):
        # Rules of transitions speak of the object before, which there is none of here.
        if "oldSelf" in entry["rule"]:
            continue
        try:
            holds = cel.evaluate(entry["rule"], {"self": value})
        except Exception as error:  # noqa: BLE001 - whatever it is, the rule was not checked
            found.append(f"{path or '/'}: `{entry['rule']}` cannot be evaluated: {error}")
            continue
        if holds is not True:
            found.append(f"{path or '/'}: {entry.get('message', entry['rule'])}: {value!r}")
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, inner in value.items():
            found += broken(properties.get(key, others), inner, f"{path}/{key}")
    if isinstance(value, list):
        for at, inner in enumerate(value):
            found += broken(schema.get("items"), inner, f"{path}/{at}")
    return found
