"""What the checks of templates share: the transform that AWS applies, an evaluator of the
result for given parameters, and the count of what was checked."""

import os
import re

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::NoValue": None,
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackName": "membercard-production",
    "AWS::URLSuffix": "amazonaws.com",
}

checks = failures = 0


def check(holds, what):
    global checks, failures
    checks += 1
    if not holds:
        failures += 1
        print(f"FAIL {what}")


def summary(name):
    """Prints the count, and returns the exit status."""
    print(f"{name}: {checks - failures} passed, {failures} failed")
    return 1 if failures or not checks else 0


def parsed(path):
    with open(path, encoding="utf-8") as file:
        return yaml_parse(file)


def transformed(region="us-east-1"):
    """template.yaml as CloudFormation gets it."""
    os.environ["AWS_DEFAULT_REGION"] = region
    source = parsed("template.yaml")
    for resource in of_type(source, "AWS::Serverless::Function").values():
        resource["Properties"]["CodeUri"] = "s3://bucket/key"  # what `sam package` puts there

    class NoManagedPolicies:
        def load(self):
            return {}

    return transform(source, {}, NoManagedPolicies())


def of_type(template, kind):
    return {name: r for name, r in template["Resources"].items() if r["Type"] == kind}


def as_list(value):
    return value if isinstance(value, list) else [value]


class Deployment:
    """A template with values for its parameters: conditions hold or don't. What only a
    deployment knows stays symbolic: a reference to a resource is its logical ID, in a
    text ${ID}, and an attribute is Fn::GetAtt or ${ID.attribute}."""

    def __init__(self, template, **parameters):
        self.template = template
        self.parameters = PSEUDO | {name: p.get("Default") for name, p in template["Parameters"].items()} | parameters

    def value(self, node):
        """A node without conditions and parameters; None for AWS::NoValue."""
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value is not None]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (key, argument), = node.items()
            match key:
                case "Ref":
                    return self.parameters.get(argument, argument)
                case "Fn::GetAtt":
                    return node
                case "Fn::If":
                    condition, yes, no = argument
                    return self.value(yes if self.holds({"Condition": condition}) else no)
                case "Fn::Join":
                    separator, items = argument
                    items = items if isinstance(items, list) else as_list(self.value(items))
                    return separator.join(self.text(item) for item in items if self.value(item) is not None)
                case "Fn::Sub":
                    return self.substituted(*as_list(argument))
                case "Fn::Select":
                    return self.value(argument[1])[int(argument[0])]
                case "Fn::Split":
                    return self.text(argument[1]).split(argument[0])
        values = {name: self.value(member) for name, member in node.items()}
        return {name: value for name, value in values.items() if value is not None}

    def text(self, node):
        """A node's value in a text."""
        value = self.value(node)
        if isinstance(value, dict):
            return "${%s}" % ".".join(value["Fn::GetAtt"])
        return "${%s}" % value if value in self.template["Resources"] else str(value)

    def substituted(self, text, variables=None):
        def value(match):
            name = match[1]
            if name in (variables or {}):
                return self.text(variables[name])
            return match[0] if self.parameters.get(name) is None else str(self.parameters[name])

        return re.sub(r"\$\{([\w.:]+)\}", value, text)

    def holds(self, condition):
        (key, argument), = condition.items()
        match key:
            case "Condition":
                return self.holds(self.template["Conditions"][argument])
            case "Fn::Not":
                return not self.holds(argument[0])
            case "Fn::And":
                return all(map(self.holds, argument))
            case "Fn::Or":
                return any(map(self.holds, argument))
            case "Fn::Equals":
                return self.value(argument[0]) == self.value(argument[1])
        raise ValueError(f"a condition with {key}")

    def exists(self, name):
        """Whether there is a resource or an output of this name."""
        found = self.template["Resources"].get(name) or self.template["Outputs"].get(name)
        return found is not None and ("Condition" not in found or self.holds({"Condition": found["Condition"]}))
