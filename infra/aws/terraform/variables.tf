variable "name" {
  type        = string
  description = "What the function and all that belongs to it are called; a part of a bucket's name."
  default     = "firstlight"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,40}$", var.name))
    error_message = "Lower case letters, digits and hyphens, a letter first, 41 at most."
  }
}

variable "package" {
  type        = string
  description = "The zip of the function: `infra/lambda arm64` makes target/lambda/arm64.zip."

  validation {
    condition     = endswith(var.package, ".zip")
    error_message = "A zip with `bootstrap` in it."
  }
}

variable "architecture" {
  type        = string
  description = "That of the package; arm64 costs less."
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "arm64 or x86_64."
  }
}

variable "model_bucket" {
  type        = string
  description = "The bucket of the model, in this region."

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.model_bucket))
    error_message = "The name of a bucket, without s3://."
  }
}

variable "model_prefix" {
  type        = string
  description = "Where the model is in that bucket, without a slash at its ends."

  validation {
    condition     = can(regex("^[^/*?$]([^*?$]*[^/*?$])?$", var.model_prefix))
    error_message = "A prefix without a slash at its ends, and without wildcards: it becomes a part of a policy."
  }
}

variable "memory_mib" {
  type        = number
  description = "Weights, keys and values, and 100 MB; processors come with it, one for each 1,769."
  default     = 3008 # what every account may have; 10,240 are for the asking

  validation {
    condition     = var.memory_mib >= 512 && var.memory_mib <= 10240 && floor(var.memory_mib) == var.memory_mib
    error_message = "A whole number from 512 to 10,240."
  }
}

variable "timeout_s" {
  type        = number
  description = "A load and an answer."
  default     = 300

  validation {
    condition     = var.timeout_s >= 10 && var.timeout_s <= 900
    error_message = "From 10 to 900."
  }
}

variable "reserved_concurrency" {
  type        = number
  description = "Instances at most, each of which answers one request at a time; 0 is as many as the account has."
  # An account has to have 100 more, or it refuses the function: new ones have ten in all.
  default = 10

  validation {
    condition     = var.reserved_concurrency == 0 || var.reserved_concurrency > var.queue_concurrency
    error_message = "0, or more than queue_concurrency: else the queue leaves nothing for the URL."
  }
}

variable "queue_concurrency" {
  type        = number
  description = "Instances at most that work on the queue, of reserved_concurrency."
  default     = 5

  validation {
    condition     = var.queue_concurrency >= 2 && var.queue_concurrency <= 1000
    error_message = "From 2 to 1000, as Lambda has it."
  }
}

variable "trigger" {
  type        = string
  description = "Who tells the function of new objects: the queue, or the bucket itself (direct)."
  # By the queue, many objects at once wait up to four days for the instances that there may be, and sixteen of them are
  # computed together. Directly, each is an invocation and so an instance of its own, at once: for a few now and then.
  default = "queue"

  validation {
    condition     = contains(["queue", "direct"], var.trigger)
    error_message = "queue or direct."
  }
}

variable "url_auth" {
  type        = string
  description = "Whether requests to the URL are signed (AWS_IAM), or have the key of api_key_secret (NONE)."
  default     = "AWS_IAM"

  validation {
    condition     = contains(["AWS_IAM", "NONE"], var.url_auth)
    error_message = "AWS_IAM or NONE."
  }

  validation {
    condition     = var.url_auth == "AWS_IAM" || var.api_key_secret != ""
    error_message = "With NONE, api_key_secret has to name a secret."
  }
}

variable "api_key_secret" {
  type        = string
  description = "The name of a secret of Secrets Manager whose text is the key that requests to an open URL must have."
  default     = ""

  validation {
    condition     = var.api_key_secret == "" || var.url_auth == "NONE"
    error_message = "A signed request has no place for a key: this is for url_auth NONE."
  }
}

variable "log_days" {
  type        = number
  description = "How long logs are kept."
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400], var.log_days)
    error_message = "One of the periods that CloudWatch has, 400 at most."
  }
}
