# firstlight as an AWS Lambda function: a URL that streams answers, a bucket whose new objects are answered, and a queue of
# requests. Idle, nothing runs. The same as ../sam.yaml.
#
#   infra/lambda arm64     makes the package
#   terraform init && terraform apply
#
# in the root of the repository, or where source and package say, with this in a file beside the provider's region:
#
#   module "firstlight" {
#     source       = "./infra/aws/terraform"
#     package      = "target/lambda/arm64.zip"
#     model_bucket = "models"
#     model_prefix = "smollm2-135m-instruct"
#   }

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  account = data.aws_caller_identity.this.account_id
  s3      = "arn:${data.aws_partition.this.partition}:s3:::"
  jobs    = "${var.name}-jobs-${local.account}"
  is_open = var.url_auth == "NONE"
  has_key = var.api_key_secret != ""
  api_key = local.has_key ? { FIRSTLIGHT_API_KEY = data.aws_secretsmanager_secret_version.api_key[0].secret_string } : {}
}

# What is read here is in Terraform's state: who may read that, knows the key. (SAM's template has CloudFormation read it.)
data "aws_secretsmanager_secret_version" "api_key" {
  count     = local.has_key ? 1 : 0
  secret_id = var.api_key_secret
}

resource "aws_lambda_function" "this" {
  # checkov:skip=CKV_AWS_117:it asks for objects of S3 and for nothing inside a VPC
  # checkov:skip=CKV_AWS_173:no variable is a secret but the key of an open URL, which Lambda encrypts with its own key
  # checkov:skip=CKV_AWS_272:signing profiles are an account's own; who deploys says so there
  function_name                  = var.name
  role                           = aws_iam_role.this.arn
  filename                       = var.package
  source_code_hash               = filebase64sha256(var.package)
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  memory_size                    = var.memory_mib
  timeout                        = var.timeout_s
  reserved_concurrent_executions = var.reserved_concurrency == 0 ? -1 : var.reserved_concurrency

  # Weights stream to memory: nothing is written to /tmp. 512 is the least.
  ephemeral_storage {
    size = 512
  }

  environment {
    variables = merge(local.api_key, {
      MODEL = "s3://${var.model_bucket}/${var.model_prefix}"
      # What the URL's invoke_mode says.
      FIRSTLIGHT_INVOKE_MODE = "response_stream"
      FIRSTLIGHT_LOG         = "json"
      # Lambda's network carries about 75 MB/s, which two connections to S3 fill; eight are there for the slow ones.
      FIRSTLIGHT_RANGES_IN_FLIGHT = "8"
      FIRSTLIGHT_S3_SOURCE        = "s3://${local.jobs}/input/"
      FIRSTLIGHT_S3_PARAMS        = jsonencode({ max_tokens = 256 })
      RESULT_BUCKET               = local.jobs
      RESULT_PREFIX               = "results/"
    })
  }

  # Where events are kept that were given up (aws_lambda_function_event_invoke_config), as they came: the queue takes them.
  dead_letter_config {
    target_arn = aws_sqs_queue.dead_letters.arn
  }

  logging_config {
    log_group  = aws_cloudwatch_log_group.this.name
    log_format = "JSON"
  }

  tracing_config {
    mode = "Active"
  }

  # Its first event may come as soon as it is there.
  depends_on = [aws_iam_role_policy.this]
}

resource "aws_lambda_function_url" "this" {
  function_name      = aws_lambda_function.this.function_name
  authorization_type = var.url_auth
  invoke_mode        = "RESPONSE_STREAM"
}

# What an open URL takes: that everybody may call it, and may invoke the function by way of it. The key decides then. (The
# provider makes such permissions for a URL that begins as an open one, and for none that becomes one.)
resource "aws_lambda_permission" "call_open_url" {
  # checkov:skip=CKV_AWS_301:there only with url_auth = "NONE", and then there is a key
  count                  = local.is_open ? 1 : 0
  function_name          = aws_lambda_function.this.function_name
  action                 = "lambda:InvokeFunctionUrl"
  principal              = "*"
  function_url_auth_type = "NONE"
}

resource "aws_lambda_permission" "invoke_by_open_url" {
  # checkov:skip=CKV_AWS_301:there only with url_auth = "NONE", and then there is a key
  count                    = local.is_open ? 1 : 0
  function_name            = aws_lambda_function.this.function_name
  action                   = "lambda:InvokeFunction"
  principal                = "*"
  invoked_via_function_url = true
}

# Of what nobody waits for, such as the bucket's notices: an invocation that fails is repeated twice, and one that finds no
# free instance for six hours.
resource "aws_lambda_function_event_invoke_config" "this" {
  function_name                = aws_lambda_function.this.function_name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 21600
}

resource "aws_cloudwatch_log_group" "this" {
  # checkov:skip=CKV_AWS_158:logs name models and objects, and no prompt; CloudWatch encrypts them with its own key
  # checkov:skip=CKV_AWS_338:a month is what a log of requests is for; log_days says otherwise
  name              = "/firstlight/${var.name}"
  retention_in_days = var.log_days
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "this" {
  # checkov:skip=CKV_AWS_111:X-Ray's two actions know no resources
  # checkov:skip=CKV_AWS_356:X-Ray's two actions know no resources
  statement {
    sid       = "ReadModel"
    actions   = ["s3:GetObject"]
    resources = ["${local.s3}${var.model_bucket}/${var.model_prefix}/*"]
  }

  statement {
    sid = "ReadInput"
    # The bucket keeps versions, and an event names one.
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = ["${local.s3}${local.jobs}/input/*"]
  }

  statement {
    sid = "WriteResults"
    # It looks whether a result is there before it computes it.
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${local.s3}${local.jobs}/results/*"]
  }

  statement {
    sid       = "TakeMessages"
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    resources = [aws_sqs_queue.this.arn]
  }

  statement {
    sid       = "KeepWhatFailed"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.dead_letters.arn]
  }

  statement {
    sid       = "WriteLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
  }

  statement {
    sid       = "Trace"
    actions   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
    resources = ["*"]
  }
}

resource "aws_iam_role" "this" {
  name               = var.name
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "this" {
  name   = var.name
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.this.json
}
