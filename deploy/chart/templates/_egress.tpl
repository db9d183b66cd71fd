{{- /* Arguments: peers and ports, and protocols. */}}
{{- define "egress" -}}
{{- $place := first . }}
- ports:
    {{- range $port := $place.ports }}
    {{- range $protocol := rest $ }}
    - {port: {{ $port }}, protocol: {{ $protocol }}}
    {{- end }}
    {{- end }}
  {{- with $place.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
