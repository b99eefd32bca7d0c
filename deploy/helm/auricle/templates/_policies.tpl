{{/* The cluster's name service, or the nodes' cache of it at its usual address. */}}
{{- define "auricle.egressNames" -}}
- to:
    - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: kube-system } }
    - ipBlock: { cidr: 169.254.20.10/32 }
  ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
{{- end -}}

{{/* Anywhere but link-local addresses, where clouds keep their machines' credentials. */}}
{{- define "auricle.egressInternet" -}}
- to: [{ ipBlock: { cidr: 0.0.0.0/0, except: [169.254.0.0/16] } }]
  ports:
    {{- range .Values.networkPolicy.outsidePorts }}
    - { port: {{ . | int }} }
    {{- end }}
{{- end -}}

{{- define "auricle.egressRedis" -}}
{{- if .Values.redis.internal.enabled }}
- to:
    - podSelector:
        matchLabels:
          {{- include "auricle.selector" (dict "root" . "name" "redis") | nindent 10 }}
  ports: [{ port: redis }]
{{- else }}
- to: [{ ipBlock: { cidr: {{ .Values.redis.external.cidr }} } }]
  ports: [{ port: {{ .Values.redis.external.port | int }} }]
{{- end }}
{{- end -}}
