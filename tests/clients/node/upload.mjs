// Uploads a file by tus-js-client in Node: `node upload.mjs FILE ENDPOINT [OPTIONS]`. Prints the upload's URL.
import { createReadStream, statSync } from 'node:fs'
import { basename } from 'node:path'
import { Upload } from 'tus-js-client'

const [file, endpoint, options = '{}'] = process.argv.slice(2)
const { metadata, ...others } = JSON.parse(options)

const upload = new Upload(createReadStream(file), {
  endpoint,
  uploadSize: statSync(file).size,
  metadata: { filename: basename(file), filetype: 'application/octet-stream', ...metadata },
  retryDelays: Array(100).fill(300),
  onError(error) {
    console.error(String(error))
    process.exitCode = 1
  },
  onSuccess() {
    console.log(upload.url)
  },
  ...others,
})
upload.start()
