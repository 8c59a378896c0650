#!/usr/bin/env bash
# Puts a release out: its archive into a bucket, its notes on GitHub. It finds both in the addresses that guard gives it, and has
# neither a token of GitHub nor a key of AWS.
set -euo pipefail

tag="${1:?usage: release.sh TAG}"
archive="shop-$tag.tar.gz"

git archive --format=tar.gz --output="$archive" "$tag"
aws s3 cp --no-progress "$archive" "s3://acme-releases/shop/$archive"

curl --silent --show-error --fail-with-body \
  --json "{\"tag_name\": \"$tag\", \"name\": \"Shop $tag\", \"generate_release_notes\": true}" \
  "$GUARD_HUB_URL/repos/acme/shop/releases"
