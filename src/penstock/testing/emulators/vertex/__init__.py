"""Google Vertex AI on this machine: `with VertexAI(folder) as cloud`, then Google's own clients under `cloud.environment` and `cloud.url`.

Requests are held to the API's own messages, states move as documented, and jobs and endpoints are processes.
What it cannot show: images, networks, IAM policies, real capacity, and how long anything takes.
"""

from penstock.testing.emulators.vertex.cloud import VertexAI

__all__ = ["VertexAI"]
