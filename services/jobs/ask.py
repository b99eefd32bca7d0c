"""Questions of a job to the decoder; bulk work unless somebody waits for the job."""

from contextlib import aclosing

from auricle.v1 import audio_pb2, decoder_pb2, generation_pb2, jobs_pb2
from services.common.errors import Internal
from services.pipeline.decoder_client import DecoderClient


class Asker:
    """Asks in the name of one job.

    Attributes:
        output_tokens: tokens generated so far.
    """

    def __init__(self, decoder: DecoderClient, job: jobs_pb2.AnalysisJob) -> None:
        self._decoder = decoder
        self._config = job.task.config
        interactive = job.priority == jobs_pb2.JOB_PRIORITY_INTERACTIVE
        self._priority = decoder_pb2.DECODER_PRIORITY_INTERACTIVE if interactive else decoder_pb2.DECODER_PRIORITY_BULK
        self.output_tokens = 0

    async def ask(self, question: str, embeddings: audio_pb2.Tensor | None = None) -> str:
        """The model's answer.

        Args:
            question: what is asked.
            embeddings: of the audio that it is asked about.

        Raises:
            AuricleError: what the decoder answered.
        """
        request = decoder_pb2.GenerateRequest(config=self._config, priority=self._priority)
        message = request.messages.add(role=generation_pb2.ROLE_USER)
        if embeddings is not None:
            message.parts.add().audio.windows.append(embeddings)
        message.parts.add(text=question)
        texts, completed = [], False
        async with aclosing(self._decoder.generate(request)) as responses:
            async for response in responses:
                texts.append(response.text_delta)
                if response.HasField("completion"):
                    completed = True
                    self.output_tokens += response.completion.output_tokens
        if not completed:
            raise Internal("the decoder ended without a completion")
        return "".join(texts).strip()
