resource "aws_instance" "worker" {
  ami           = "ami-0123456789abcdef0"
  instance_type = "g5.xlarge"

  root_block_device {
    encrypted = true
  }

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "optional"
  }
}

resource "aws_instance" "gateway" {
  ami                  = "ami-0123456789abcdef0"
  instance_type        = "t3.small"
  ebs_optimized        = true
  monitoring           = true
  iam_instance_profile = "gateway"

  root_block_device {
    encrypted = true
  }

  metadata_options {
    http_tokens = "required"
  }
}
