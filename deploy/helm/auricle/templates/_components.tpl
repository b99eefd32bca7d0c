{{/* Where callers find the pods of a component. Takes root, name, port. */}}
{{- define "auricle.target" -}}
{{- $service := printf "%s-%s" (include "auricle.fullname" .root) .name }}
{{- if eq .root.Values.discovery.mode "endpointslices" -}}
k8s:///{{ .root.Release.Namespace }}/{{ $service }}:grpc
{{- else -}}
dns:///{{ $service }}:{{ .port }}
{{- end }}
{{- end -}}

{{/* Whether a component reads the EndpointSlices of those that it calls. Takes root, component. */}}
{{- define "auricle.readsCluster" -}}
{{- if and .component.calls (eq .root.Values.discovery.mode "endpointslices") }}true{{ end }}
{{- end -}}

{{/*
The services, each in a few lines; everything else is rendered from them.

    image      name of its image
    prefix     of its settings' variables, AURICLE_PREFIX_...
    values     its block of values
    ports      by name; "metrics" is Prometheus'
    grpc       its port that the others call; without it the component has no Service
    probe      grpc, or http with the port's name and a path
    args       of the command, instead of the image's
    set        settings that the chart gives, so that values cannot
    calls      components that it calls
    uses       redis, store, model, spool, keys
    single     never more than one
*/}}
{{- define "auricle.components" -}}
{{- $name := include "auricle.fullname" . }}
{{- $v := .Values }}
{{- $path := dict
  "preprocess_address" (include "auricle.target" (dict "root" . "name" "preprocess" "port" 8401))
  "encoder_address" (include "auricle.target" (dict "root" . "name" "encoder" "port" 8403))
  "decoder_address" (include "auricle.target" (dict "root" . "name" "decoder" "port" 8402))
  "redis_url" (include "auricle.redisUrl" .)
  "store_url" (include "auricle.storeUrl" .) }}
{{- if $v.tls.enabled }}{{ $_ := set $path "services_ca" "/tls/ca.crt" }}{{ end }}
{{- if and $v.tls.enabled $v.tls.mutual }}{{ $_ := set $path "services_cert" "/tls/tls.crt" }}{{ $_ := set $path "services_key" "/tls/tls.key" }}{{ end }}
gateway:
  image: gateway
  prefix: GATEWAY
  values: {{ toJson $v.gateway }}
  ports: { grpc: 8400, metrics: 8410 }
  grpc: 8400
  probe: { grpc: 8400 }
  set: {{ toJson (merge (dict "host" "0.0.0.0" "port" 8400 "metrics_port" 8410) $path (ternary (dict "api_keys_file" "/keys/keys") (dict) (not $v.gateway.apiKeys.open))) }}
  calls: [preprocess, encoder, decoder]
  uses: [redis, store, keys]
preprocess:
  image: preprocess
  prefix: PREPROCESS
  values: {{ toJson $v.preprocess }}
  ports: { grpc: 8401, metrics: 8411 }
  grpc: 8401
  probe: { grpc: 8401 }
  set: { host: 0.0.0.0, port: 8401, metrics_port: 8411, spool_dir: /spool }
  calls: []
  uses: [spool]
encoder:
  image: encoder
  prefix: ENCODER
  values: {{ toJson $v.encoder }}
  ports: { grpc: 8403, http: 8404, metrics: 8413 }
  grpc: 8403
  probe: { http: http, path: /v2/health/ready, livePath: /v2/health/live }
  set: { host: 0.0.0.0, grpc_port: 8403, http_port: 8404, metrics_port: 8413, volume: /models, model: {{ $v.model.name | quote }}, traces_url: {{ $v.tracing.httpUrl | quote }} }
  calls: []
  uses: [model]
decoder:
  image: decoder
  prefix: DECODER
  values: {{ toJson $v.decoder }}
  ports: { grpc: 8402, metrics: 8412 }
  grpc: 8402
  probe: { grpc: 8402 }
  set: { host: 0.0.0.0, port: 8402, metrics_port: 8412, checkpoint: {{ include "auricle.modelFolder" . }}/checkpoint, model_name: {{ $v.model.name | quote }} }
  calls: []
  uses: [model]
{{- range $kind := list "prepare" "encode" "decode" "upkeep" }}
{{ ternary $kind (printf "worker-%s" $kind) (eq $kind "upkeep") }}:
  image: worker
  prefix: WORKER
  values: {{ toJson (merge (dict) (get $v.workers $kind) (dict "settings" $v.workers.settings)) }}
  ports: { metrics: 8414 }
  probe: { http: metrics, path: / }
  args: {{ toJson (concat (list "python" "-m" "services.jobs" "--queues" $kind) (ternary (list "--beat") (list) (eq $kind "upkeep"))) }}
  set: {{ toJson (merge (dict "host" "0.0.0.0" "metrics_port" 8414) $path) }}
  calls: [preprocess, encoder, decoder]
  uses: [redis, store]
  single: {{ eq $kind "upkeep" }}
{{- end }}
{{- end -}}
