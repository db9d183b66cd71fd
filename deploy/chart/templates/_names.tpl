{{- define "services" -}}
discovery collector renderer applier
{{- end }}

{{- /* Arguments: the root, and a service. */}}
{{- define "name" -}}
vcenter-operator-{{ index . 1 }}
{{- end }}

{{- /* Of objects without a namespace: one release's are apart from another's. */}}
{{- define "cluster.name" -}}
{{ (index . 0).Release.Namespace }}:{{ include "name" . }}
{{- end }}

{{- define "selector" -}}
app.kubernetes.io/name: vcenter-operator
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{- define "secret" -}}
{{- $root := index . 0 -}}
{{ $root.Values.secret.name }}{{ if $root.Values.secret.perService }}-{{ index . 1 }}{{ end }}
{{- end }}

{{- define "namespaces" -}}
{{ default (list .Release.Namespace) .Values.applier.namespaces | toJson }}
{{- end }}

{{- /* Arguments: a rule, and a list of verbs. */}}
{{- define "rule" -}}
{{ merge (dict "verbs" (index . 1)) (index . 0) | toJson }}
{{- end }}
