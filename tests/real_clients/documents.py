"""
The examples of Runflow's and Prodia's own documents, as the documents were given, read 2026-11-20.

Where a document came without its line breaks, so does its example; `clients.py` says what is done about that.
"""

#: https://www.runflow.io/models/meta/sam-3/image/api: generation 1, in Python with the words of JSON.
RUNFLOW_1_PYTHON = """\
import requests
response = requests.post(
"https://api.runflow.io/v1/run/sam-3/image",
headers={"Authorization": "Bearer RUNFLOW_API_KEY"},
json={
"prompt": "keyboard",
"image_url": "https://v3b.fal.media/files/b/0a92a995/fV5oYdcCV3NAmgWJISpIP_tmpdddcks4v.png",
"apply_mask": false,
"return_multiple_masks": true
},
)
data = response.json()
print(data["image"]["url"])
"""

#: https://docs.runflow.io/models/meta/sam-3/image: generation 3, three times.
RUNFLOW_3_PYTHON = """\
import requests

response = requests.post(
    "https://api.runflow.io/v1/models/meta/sam-3/image/runs",
    headers={"Authorization": "Bearer RUNFLOW_API_KEY"},
    json={
        "input": {
            "prompt": "keyboard",
            "image_url": "https://v3b.fal.media/files/b/0a92a995/fV5oYdcCV3NAmgWJISpIP_tmpdddcks4v.png",
            "apply_mask": False,
            "return_multiple_masks": True
        },
        "callback_url": "https://your-server.com/webhook"
    },
)

data = response.json()
print(data)
"""

RUNFLOW_3_NODE = """\
const response = await fetch(
  "https://api.runflow.io/v1/models/meta/sam-3/image/runs",
  {
    method: "POST",
    headers: {
      "Authorization": "Bearer RUNFLOW_API_KEY",
      "Content-Type": "application/json",
    },
    body: JSON.stringify({
        "input": {
            "prompt": "keyboard",
            "image_url": "https://v3b.fal.media/files/b/0a92a995/fV5oYdcCV3NAmgWJISpIP_tmpdddcks4v.png",
            "apply_mask": false,
            "return_multiple_masks": true
        },
        "callback_url": "https://your-server.com/webhook"
    }),
  }
);

const data = await response.json();
console.log(data);
"""

RUNFLOW_3_CURL = r"""curl -X POST https://api.runflow.io/v1/models/meta/sam-3/image/runs \
  -H "Authorization: Bearer $RUNFLOW_API_KEY" \
  -H "Content-Type: application/json" \
  --data-binary @- <<'JSON'
{
    "input": {
        "prompt": "keyboard",
        "image_url": "https://v3b.fal.media/files/b/0a92a995/fV5oYdcCV3NAmgWJISpIP_tmpdddcks4v.png",
        "apply_mask": false,
        "return_multiple_masks": true
    },
    "callback_url": "https://your-server.com/webhook"
}
JSON
"""

#: https://www.runflow.io/models/meta/sam-3/image, as text of 2026-04-05: generation 2, three times, on one line.
RUNFLOW_2_EXAMPLES = (
    "## Usage Examples ### cURL ```bash curl -X POST https://api.runflow.io/v1/run/meta/sam-3/image \\ -H "
    '"Authorization: Bearer $RUNFLOW_API_KEY" \\ -H "Content-Type: application/json" \\ -d \'{ "prompt": "A '
    'professional headshot, soft studio lighting", "image_url": "https://example.com/input.jpg", '
    '"output_format": "png" }\' ``` ### Python ```python import requests response = requests.post( '
    '"https://api.runflow.io/v1/run/meta/sam-3/image", headers={"Authorization": "Bearer RUNFLOW_API_KEY"}, '
    'json={ "prompt": "A professional headshot, soft studio lighting", "image_url": '
    '"https://example.com/input.jpg", "output_format": "png", }, ) data = response.json() '
    'print(data["image"]["url"]) ``` ### JavaScript ```javascript const response = await fetch( '
    '"https://api.runflow.io/v1/run/meta/sam-3/image", { method: "POST", headers: { "Authorization": "Bearer '
    'RUNFLOW_API_KEY", "Content-Type": "application/json", }, body: JSON.stringify({ prompt: "A professional '
    'headshot, soft studio lighting", image_url: "https://example.com/input.jpg", output_format: "png", }), } '
    "); const data = await response.json(); console.log(data.image.url); ```"
)

#: Prodia's guide "Segmenting Images", SAM 2: a picture is made first.
PRODIA_SAM2 = """\
import fs from "node:fs/promises";
import { createProdia } from "prodia/v2";
const prodia = createProdia({
token: process.env.PRODIA_TOKEN,
});
// First generate an image to segment
console.log("Generating image...");
const imageJob = await prodia.job({
type: "inference.flux-fast.schnell.txt2img.v1",
config: {
prompt: "a cute robot cat on a colorful background",
resolution: "1024x1024",
},
});
const imageBuffer = await imageJob.arrayBuffer();
await fs.writeFile("input.jpg", new Uint8Array(imageBuffer));
console.log("Saved input.jpg");
// Now segment it using SAM 2
console.log("Segmenting image...");
const segmentJob = await prodia.job(
{ type: "inference.segment.v1" },
{ accept: "multipart/form-data", inputs: [new Uint8Array(imageBuffer)] }
);
// Get all mask outputs
const formData = await segmentJob.formData();
const masks = formData.getAll("output");
for (const [i, mask] of masks.entries()) {
const buffer = await mask.arrayBuffer();
await fs.writeFile(`mask_${i}.png`, new Uint8Array(buffer));
}
console.log(`Saved ${masks.length} mask files`);
"""

#: The same guide, SAM 3.
PRODIA_SAM3 = """\
import fs from "node:fs/promises";
import { createProdia } from "prodia/v2";
const prodia = createProdia({
token: process.env.PRODIA_TOKEN,
});
// Load an image to segment
const imageBuffer = await fs.readFile("input.jpg");
// Segment only the robot cat using SAM 3
console.log("Segmenting with prompt...");
const segmentJob = await prodia.job(
{
type: "inference.segment.v2",
config: {
prompt: "robot cat",
confidence_threshold: 0.5,
},
},
{ accept: "multipart/form-data", inputs: [new Uint8Array(imageBuffer)] }
);
const formData = await segmentJob.formData();
const masks = formData.getAll("output");
for (const [i, mask] of masks.entries()) {
const buffer = await mask.arrayBuffer();
await fs.writeFile(`mask_${i}.png`, new Uint8Array(buffer));
}
console.log(`Saved ${masks.length} mask files`);
"""
