"""What CloudFormation gets of a SAM template: `transformed.py TEMPLATE` prints it.

The template itself says little to a linter, and what SAM's translator does not know it may drop without a word. So the
function is held against the fields that SAM documents, and cfn-lint finds what is wrong in the result. The package is not
uploaded; its place is made up.
"""

import json
import os
import sys

import yaml
from samtranslator.compat import pydantic
from samtranslator.internal.schema_source import aws_serverless_function
from samtranslator.translator.transform import transform


class Template(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!Sub x` is `{"Fn::Sub": x}`."""


def short_form(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix in ("Ref", "Condition"):
        return {suffix: value}
    if suffix == "GetAtt":
        value = value.split(".", 1)
    return {"Fn::" + suffix: value}


class NoManagedPolicies:
    """SAM would ask IAM for the names of AWS's policies. The template has policies of its own."""

    def load(self):
        return {}


Template.add_multi_constructor("!", short_form)
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")
with open(sys.argv[1]) as file:
    template = yaml.load(file, Template)
for resource in template["Resources"].values():
    if resource["Type"] == "AWS::Serverless::Function":
        resource["Properties"]["CodeUri"] = "s3://packages/function.zip"
        try:
            aws_serverless_function.Resource.parse_obj(resource)
        except pydantic.ValidationError as error:
            sys.exit(f"{sys.argv[1]}: {error}")
json.dump(transform(template, {}, NoManagedPolicies()), sys.stdout, indent=1)
