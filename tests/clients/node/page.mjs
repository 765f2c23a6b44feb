// What runs in the browser: both clients on one page, each with a field for its file. `?endpoint=URL` says where to.
import Uppy from '@uppy/core'
import Dashboard from '@uppy/dashboard'
import Tus from '@uppy/tus'
import { Upload } from 'tus-js-client'
import '@uppy/core/css/style.min.css'
import '@uppy/dashboard/css/style.min.css'

const endpoint = new URLSearchParams(location.search).get('endpoint')
const retryDelays = Array(100).fill(300)
const said = document.querySelector('#said')

document.querySelector('#tus').addEventListener('change', (event) => {
  const file = event.target.files[0]
  const upload = new Upload(file, {
    endpoint,
    retryDelays,
    metadata: { filename: file.name },
    onError(error) {
      said.textContent = `error ${error}`
    },
    onSuccess() {
      said.textContent = `done ${upload.url}`
    },
  })
  upload.start()
})

new Uppy({ autoProceed: true })
  .use(Dashboard, { inline: true, target: '#uppy' })
  .use(Tus, { endpoint, retryDelays })
  .on('upload-error', (file, error) => {
    said.textContent = `error ${error}`
  })
  .on('upload-success', (file, response) => {
    said.textContent = `done ${response.uploadURL}`
  })
