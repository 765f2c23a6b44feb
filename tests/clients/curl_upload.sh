#!/bin/sh
# Uploads a file by curl and nothing else: curl_upload.sh FILE ENDPOINT. Prints the upload's URL.
set -eu
file=$1
size=$(wc -c <"$file")
name=$(printf %s "${file##*/}" | base64 -w0)

url=$(curl -fsS -o /dev/null -D - -X POST -H 'Tus-Resumable: 1.0.0' -H "Upload-Length: $size" \
    -H "Upload-Metadata: filename $name" "$2" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
for _ in $(seq 400); do
    offset=$(curl -fsS -I -H 'Tus-Resumable: 1.0.0' "$url" | tr -d '\r' | sed -n 's/^[Uu]pload-[Oo]ffset: //p') || offset=
    if [ "$offset" = "$size" ]; then
        echo "$url"
        exit 0
    elif [ -n "$offset" ]; then
        curl -sS -o /dev/null -X PATCH -T "$file" -C "$offset" -H 'Content-Range:' -H 'Tus-Resumable: 1.0.0' \
            -H "Upload-Offset: $offset" -H 'Content-Type: application/offset+octet-stream' "$url" && continue
    fi
    sleep 0.3
done
exit 1
