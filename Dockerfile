# syntax=docker/dockerfile:1
# The operator's image:  docker build -t tenant-schema-operator .

# The compiler runs on the builder's own processor and makes a program for the one that is asked for: emulated, it would take hours.
FROM --platform=$BUILDPLATFORM rust:1.95.0-slim-trixie AS build
ARG TARGETARCH
# hadolint ignore=DL3008
RUN case "$TARGETARCH" in \
        amd64) cpu=x86_64 package=x86-64 ;; \
        arm64) cpu=aarch64 package=aarch64 ;; \
        *) echo "no image is made for $TARGETARCH" >&2; exit 1 ;; \
    esac \
    && apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && if test "$cpu" != "$(uname -m)"; then \
        apt-get install -y --no-install-recommends "gcc-$package-linux-gnu" "libc6-dev-$TARGETARCH-cross" \
        && rustup target add "$cpu-unknown-linux-gnu"; \
    fi \
    && rm -rf /var/lib/apt/lists/* \
    && echo "$cpu" >/cpu
WORKDIR /source
COPY . .
# What is downloaded and built stays in the builder's cache, so the program is copied out of it. The linker has this name also
# where it is the builder's own.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target,sharing=locked \
    cpu=$(cat /cpu) && target="$cpu-unknown-linux-gnu" \
    && cargo build --locked --release --bin tenant-schema-operator --target "$target" \
        --config "target.$target.linker='$cpu-linux-gnu-gcc'" \
    && cp "target/$target/release/tenant-schema-operator" /tenant-schema-operator

# What the programs below find there already. It is for the processor that is asked for, and looked at only.
FROM debian:trixie-slim AS image

# The programs that write and list archives, of the newest PostgreSQL, which reads all older ones, with the libraries that they need
# and the image does not have. Packages for the other processor are unpacked and not run.
FROM --platform=$BUILDPLATFORM debian:trixie-slim AS programs
ARG TARGETARCH
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /packages
# postgresql-client-common has the key by which the packages of the PostgreSQL project are known.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils ca-certificates postgresql-client-common \
    && echo "deb [signed-by=/usr/share/postgresql-common/pgdg/apt.postgresql.org.gpg] https://apt.postgresql.org/pub/repos/apt trixie-pgdg main" \
        >/etc/apt/sources.list.d/pgdg.list \
    && dpkg --add-architecture "$TARGETARCH" \
    && apt-get update \
    && apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
        "postgresql-client-18:$TARGETARCH" | sed -nE 's/^((lib|zlib)[^: ]*)(:.*)?$/\1/p' | sort -u | sed "s/\$/:$TARGETARCH/" >/names \
    && mapfile -t names </names \
    && apt-get download "postgresql-client-18:$TARGETARCH" "${names[@]}" \
    && for package in *.deb; do dpkg-deb --extract "$package" /unpacked; done \
    && rm -rf /var/lib/apt/lists/* ./*.deb
RUN --mount=type=bind,source=.ci/pg-programs,target=/pg-programs \
    --mount=type=bind,from=image,source=/,target=/image \
    /pg-programs /unpacked /image /programs usr/lib/postgresql/18/bin/pg_dump usr/lib/postgresql/18/bin/pg_restore

# Nothing is run to make this part, so that it needs no emulated processor.
FROM image
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# Where OpenSSL looks, with which pg_dump checks the server's certificate.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /usr/lib/ssl/cert.pem
COPY --from=programs /programs/ /
COPY --from=build /tenant-schema-operator /usr/local/bin/tenant-schema-operator
# The allocator gives back what a survey or a list took once. By itself it would keep a heap for every few threads, and as much of each as
# was ever used at once: 19 of 88 MiB at 10,000 tenants.
ENV MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=131072 MALLOC_TRIM_THRESHOLD_=131072
# A number, so that Kubernetes sees that it is not root. Nothing is written: the root file system may be read-only.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["tenant-schema-operator"]
CMD ["run"]
