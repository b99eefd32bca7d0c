{{/* Name under which prometheus-adapter serves a signal. Takes name and signal. */}}
{{- define "auricle.signalName" -}}
auricle_{{ .name | replace "-" "_" }}_{{ snakecase .signal }}
{{- end -}}

{{/* Replicas come at once and go slowly, one by one: a pod that goes drains, and a lull may be short. */}}
{{- define "auricle.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies: [{ type: Percent, value: 100, periodSeconds: 30 }, { type: Pods, value: 2, periodSeconds: 30 }]
scaleDown:
  stabilizationWindowSeconds: {{ .Values.scaling.scaleInAfterSeconds | int }}
  policies: [{ type: Pods, value: 1, periodSeconds: 60 }]
{{- end -}}

{{/* The three lists of a Celery queue, one for each priority; kombu puts this separator before all but the highest. */}}
{{- define "auricle.redisTriggers" -}}
{{- $queue := trimPrefix "worker-" .name }}
{{- range $label, $list := dict "interactive" $queue "normal" (printf "%s\x06\x163" $queue) "bulk" (printf "%s\x06\x166" $queue) }}
- type: redis
  name: {{ $label }}
  metadata:
    address: {{ include "auricle.redisHost" $.root }}.{{ $.root.Release.Namespace }}:{{ include "auricle.redisPort" $.root }}
    listName: {{ toJson $list }}
    listLength: "1"
    databaseIndex: {{ ternary "0" ($.root.Values.redis.external.database | int | toString) $.root.Values.redis.internal.enabled | quote }}
    enableTLS: {{ and (not $.root.Values.redis.internal.enabled) $.root.Values.redis.external.tls | quote }}
  {{- if $.root.Values.redis.password.secret }}
  authenticationRef: { name: {{ include "auricle.fullname" $.root }}-redis }
  {{- end }}
{{- end }}
{{- end -}}

{{/* Takes root, name, component, signals. */}}
{{- define "auricle.scaledObject" -}}
{{- $root := .root }}{{- $scaling := .component.values.replicas }}{{- $targets := .component.values.targets }}
{{- $selector := printf `namespace="%s",pod=~"%s-%s-.*"` $root.Release.Namespace (include "auricle.fullname" $root) .name }}
{{- $isWorker := hasPrefix "worker-" .name -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "auricle.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: { name: {{ include "auricle.fullname" $root }}-{{ .name }} }
  minReplicaCount: {{ $scaling.min | int }}
  maxReplicaCount: {{ $scaling.max | int }}
  pollingInterval: 15
  # Without its signals a service keeps the replicas it has.
  fallback: { failureThreshold: 3, replicas: {{ $scaling.min | int }}, behavior: currentReplicasIfHigher }
  advanced:
    {{- if $isWorker }}
    # All that waits and all that is in hand, over what one worker does at a time.
    scalingModifiers:
      formula: interactive + normal + bulk + units
      target: {{ $targets.units | toString | quote }}
      metricType: AverageValue
    {{- end }}
    horizontalPodAutoscalerConfig:
      behavior:
        {{- include "auricle.scalingBehavior" $root | nindent 8 }}
  triggers:
    {{- if $isWorker }}
    {{- include "auricle.redisTriggers" . | nindent 4 }}
    {{- end }}
    {{- range $signal, $query := .signals }}
    - type: prometheus
      name: {{ $signal }}
      metricType: AverageValue
      metadata:
        serverAddress: {{ $root.Values.scaling.prometheusUrl | quote }}
        query: {{ printf "sum(%s)" (replace "SELECTOR" $selector $query) | quote }}
        threshold: {{ get $targets $signal | toString | quote }}
        # A Prometheus that lost its targets is an error, not a lull.
        ignoreNullValues: "false"
    {{- end }}
{{- end -}}

{{/* Takes root, name, component, signals. */}}
{{- define "auricle.podAutoscaler" -}}
{{- $root := .root }}{{- $scaling := .component.values.replicas }}{{- $targets := .component.values.targets }}{{- $name := .name -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "auricle.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: {{ include "auricle.fullname" $root }}-{{ .name }} }
  minReplicas: {{ $scaling.min | int }}
  maxReplicas: {{ $scaling.max | int }}
  behavior:
    {{- include "auricle.scalingBehavior" $root | nindent 4 }}
  metrics:
    {{- range $signal, $query := .signals }}
    - type: Pods
      pods:
        metric: { name: {{ include "auricle.signalName" (dict "name" $name "signal" $signal) }} }
        target: { type: AverageValue, averageValue: {{ get $targets $signal | toString | quote }} }
    {{- end }}
{{- end -}}
