"""Where a new job's recording comes from."""

from auricle.v1 import jobs_pb2
from services.gateway.audio_store import AudioStore
from services.jobstore.blobs import JobBlobs
from services.jobstore.uri_sources import UriSources

# Until a recording is decoded its length is estimated as that of a file of 64 kbit/s: rather too long than too short.
_ESTIMATED_BYTES_PER_SECOND = 8_000
# And that of one behind an https URL, which nobody asks before a worker does, as this.
_ESTIMATED_SECONDS = 3_600.0


class JobSources:
    """Recordings that jobs may name.

    Args:
        uploads: recordings that were uploaded.
        blobs: what jobs keep.
        uris: recordings behind URIs.
    """

    def __init__(self, uploads: AudioStore, blobs: JobBlobs, uris: UriSources) -> None:
        self._uploads = uploads
        self._blobs = blobs
        self._uris = uris

    async def find(self, tenant: str, audio: jobs_pb2.JobAudio) -> float:
        """Fill in how an upload was described; returns about how many seconds of sound there will be.

        Raises:
            NotFound: there is no such recording (AUDIO_NOT_FOUND).
            AuricleError: it may not be named; see UriSources.check.
        """
        if audio.uri:
            size_bytes = await self._uris.check(tenant, audio.uri)
        else:
            upload = await self._uploads.find(tenant, audio.name)
            size_bytes = upload.size_bytes
            if upload.raw_pcm:
                audio.raw_pcm.CopyFrom(upload.raw_pcm)
        return _ESTIMATED_SECONDS if size_bytes is None else size_bytes / _ESTIMATED_BYTES_PER_SECOND

    async def keep(self, tenant: str, job_id: str, audio: jobs_pb2.JobAudio) -> None:
        """Copy an upload into the job's folder; what is behind a URI a worker fetches.

        Raises:
            NotFound: it has gone meanwhile (AUDIO_NOT_FOUND).
        """
        if not audio.uri:
            await self._blobs.take_upload(self._uploads.path(tenant, audio.name), tenant, job_id)
