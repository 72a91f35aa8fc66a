output "url" {
  description = "Where requests go; signed, unless url_auth is NONE."
  value       = aws_lambda_function_url.this.function_url
}

output "function_name" {
  description = "For whoever invokes it directly."
  value       = aws_lambda_function.this.function_name
}

output "jobs_bucket" {
  description = "Objects under input/ are answered under results/."
  value       = aws_s3_bucket.jobs.id
}

output "queue_url" {
  description = "Takes the bodies of requests too."
  value       = aws_sqs_queue.this.url
}

output "dead_letters_url" {
  description = "What was given up."
  value       = aws_sqs_queue.dead_letters.url
}
