"""What prepares the region of docker-compose.yml; it runs in containers of the image with the command."""
