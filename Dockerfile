FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements.lock requirements-uv.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements-uv.lock \
 && uv pip sync --system --compile-bytecode --require-hashes requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable .
ENV PIPELINE_HOME=/data
CMD ["trading-pipeline", "ui", "--host", "0.0.0.0"]
