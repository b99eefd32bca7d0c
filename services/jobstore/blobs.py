"""What jobs keep in the object store: the recording, and between two steps a window's spectrogram or embeddings.

Everything of a job stands under `jobs/TENANT/ID/`. Messages of the contract are written as they travel, never pickled.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import obstore

from auricle.v1 import audio_pb2, jobs_pb2, preprocess_pb2
from services.common.errors import NotFound
from services.common.object_store import (
    objects_under,
    open_store,
    read_chunks,
    remove,
    store_errors,
    write_new,
    write_stream,
)

ROOT = "jobs"
_KEPT = "the jobs"
# Names the copy of a recording that counts, where the recording came by URI.
_CHOSEN = "source.chosen"


class JobBlobs:
    """The object store as jobs use it.

    Args:
        url: where; file:// makes the folder when it is missing.
    """

    def __init__(self, url: str) -> None:
        self._store = open_store(url)

    async def take_upload(self, upload_path: str, tenant: str, job_id: str) -> None:
        """Copy an upload, so that the job outlives it.

        Raises:
            NotFound: it has gone meanwhile (AUDIO_NOT_FOUND).
        """
        with store_errors(_KEPT):
            try:
                await obstore.copy_async(self._store, upload_path, _path(tenant, job_id, "source"))
            except FileNotFoundError:
                raise NotFound("the recording has expired meanwhile", reason="AUDIO_NOT_FOUND") from None

    async def has_source(self, tenant: str, job_id: str) -> bool:
        """Whether the recording of a job that names it by URI is there."""
        return await self._chosen(tenant, job_id) is not None

    async def put_source(self, tenant: str, job_id: str, writer: str, chunks: AsyncIterator[bytes]) -> None:
        """Keep a recording as its bytes come.

        The first that is whole is the job's for good: a worker that lost its lease and does not know it yet must not
        put other bytes under the windows that were found.

        Args:
            tenant: whose the job is.
            job_id: of the job.
            writer: a name of this try, of letters and digits.
            chunks: the bytes.
        """
        with store_errors(_KEPT):
            await write_stream(self._store, _path(tenant, job_id, f"source-{writer}"), chunks)
            await write_new(self._store, _path(tenant, job_id, _CHOSEN), writer.encode())

    async def source(self, tenant: str, job_id: str, chunk_bytes: int) -> AsyncIterator[bytes]:
        """The recording in chunks of at most `chunk_bytes`."""
        writer = await self._chosen(tenant, job_id)
        with store_errors(_KEPT):
            path = _path(tenant, job_id, f"source-{writer}" if writer else "source")
            async for chunk in read_chunks(self._store, path, chunk_bytes):
                yield chunk

    async def _chosen(self, tenant: str, job_id: str) -> str | None:
        try:
            return (await self._get(_path(tenant, job_id, _CHOSEN))).decode()
        except NotFound:
            return None

    async def put_window(self, tenant: str, job_id: str, window: preprocess_pb2.PreprocessedWindow) -> None:
        """Keep a window's spectrogram until it is encoded."""
        await self._put(_path(tenant, job_id, f"mel/{window.window.index:06d}"), window.SerializeToString())

    async def get_window(self, tenant: str, job_id: str, index: int) -> preprocess_pb2.PreprocessedWindow:
        """A window's spectrogram."""
        return preprocess_pb2.PreprocessedWindow.FromString(await self._get(_path(tenant, job_id, f"mel/{index:06d}")))

    async def drop_window(self, tenant: str, job_id: str, index: int) -> None:
        """Forget a window's spectrogram."""
        await self._delete([_path(tenant, job_id, f"mel/{index:06d}")])

    async def put_embeddings(
        self, tenant: str, job_id: str, index: int, fingerprint: str, tensor: audio_pb2.Tensor
    ) -> None:
        """Keep a window's embeddings by the model of that fingerprint for as long as the job is kept."""
        await self._put(_path(tenant, job_id, _embeddings(fingerprint, index)), tensor.SerializeToString())

    async def get_embeddings(self, tenant: str, job_id: str, index: int, fingerprint: str) -> audio_pb2.Tensor:
        """A window's embeddings by the model of that fingerprint.

        Raises:
            NotFound: that model has not heard the window, or the job was removed (JOB_DATA_MISSING).
        """
        return audio_pb2.Tensor.FromString(await self._get(_path(tenant, job_id, _embeddings(fingerprint, index))))

    async def put_result(self, tenant: str, job_id: str, key: str, result: jobs_pb2.AnalysisResult) -> None:
        """Keep a result of the job; the record tells which key counts."""
        await self._put(_path(tenant, job_id, f"result/{key}"), result.SerializeToString())

    async def get_result(self, tenant: str, job_id: str, key: str) -> jobs_pb2.AnalysisResult:
        """The job's result."""
        return jobs_pb2.AnalysisResult.FromString(await self._get(_path(tenant, job_id, f"result/{key}")))

    async def delete_job(self, tenant: str, job_id: str) -> None:
        """Remove all that a job keeps."""
        with store_errors(_KEPT):
            folder = f"{ROOT}/{tenant}/{job_id}"
            paths = [meta["path"] for meta in await objects_under(self._store, folder)]
        await self._delete(paths)

    async def is_old(self, tenant: str, job_id: str, seconds: float) -> bool:
        """Whether the newest thing that a job keeps was written so long ago."""
        with store_errors(_KEPT):
            folder = f"{ROOT}/{tenant}/{job_id}"
            times = [meta["last_modified"] for meta in await objects_under(self._store, folder)]
        return bool(times) and (datetime.now(UTC) - max(times)).total_seconds() > seconds

    async def jobs(self) -> list[tuple[str, str]]:
        """Tenant and id of every job that keeps something; what they keep is not listed."""
        return [
            (tenant, job_id)
            for tenant in await self._folders(ROOT)
            for job_id in await self._folders(f"{ROOT}/{tenant}")
        ]

    async def _folders(self, path: str) -> list[str]:
        with store_errors(_KEPT):
            found = await obstore.list_with_delimiter_async(self._store, path)
        return [prefix.rsplit("/", 1)[-1] for prefix in found["common_prefixes"]]

    async def _put(self, path: str, data: bytes) -> None:
        with store_errors(_KEPT):
            await obstore.put_async(self._store, path, data)

    async def _get(self, path: str) -> bytes:
        with store_errors(_KEPT):
            try:
                return bytes(await (await obstore.get_async(self._store, path)).bytes_async())
            except FileNotFoundError:
                raise NotFound("this part of the job is not there", reason="JOB_DATA_MISSING") from None

    async def _delete(self, paths: list[str]) -> None:
        with store_errors(_KEPT):
            for path in paths:
                await remove(self._store, path)


def _embeddings(fingerprint: str, index: int) -> str:
    # Embeddings mean something to the model that made them only.
    return f"embeddings/{fingerprint[:16]}/{index:06d}"


def _path(tenant: str, job_id: str, part: str) -> str:
    # Tenants and ids are of small alphabets (services.common.auth, model.new_id), so neither can leave its folder.
    return f"{ROOT}/{tenant}/{job_id}/{part}"
