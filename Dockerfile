# A server of one model on the CPU; docs/use.md, "In a container", has the two commands.
FROM python:3.12-slim

# The package index of torch's CPU wheels, which are a tenth of the size of those for GPUs; empty: the usual index.
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch>=2.4"

COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
RUN pip install --no-cache-dir "/build[serve,vi]" && rm -r /build

RUN useradd --create-home kdda
USER kdda
WORKDIR /home/kdda
ENV HF_HUB_OFFLINE=1

# A model's folder is mounted at /model; KDDA_TOKEN is the clients' token, without which nothing outside may ask.
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=30s --timeout=15s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=10)"]
ENTRYPOINT ["kdda", "serve"]
CMD ["/model", "--host", "0.0.0.0", "--token-env", "KDDA_TOKEN"]
