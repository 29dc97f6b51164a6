resource "aws_ebs_volume" "models" {
  availability_zone = "eu-west-1a"
  size              = 200
  type              = "gp3"
  encrypted         = false
}

resource "aws_instance" "worker" {
  ami           = "ami-0123456789abcdef0"
  instance_type = "g5.xlarge"

  root_block_device {
    volume_size = 100
    encrypted   = false
  }

  metadata_options {
    http_tokens = "required"
  }
}

resource "aws_volume_attachment" "models" {
  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.models.id
  instance_id = aws_instance.worker.id
}
