{{- /* Arguments: the root, and a service. What a container is told, and the files that this names. */}}
{{- define "environment" -}}
{{- $root := index . 0 }}
{{- $service := index . 1 }}
{{- $values := index $root.Values.services $service }}
{{- $cluster := $root.Values.rabbitmq.cluster }}
- {name: VCENTER_OPERATOR_NAMESPACE, value: {{ $root.Release.Namespace | quote }}}
- {name: VCENTER_OPERATOR_SECRET, value: {{ include "secret" . | quote }}}
- {name: VCENTER_OPERATOR_PARTITIONS, value: {{ $root.Values.partitions | quote }}}
- {name: VCENTER_OPERATOR_GENERATION, value: {{ $root.Values.generation | quote }}}
- {name: VCENTER_OPERATOR_PROBE_PORT, value: "8080"}
{{- with $root.Values.domain }}
- {name: SERVICE_DOMAIN, value: {{ . | quote }}}
{{- end }}
{{- if eq $service "discovery" }}
- {name: VCENTER_OPERATOR_NOTIFY_PORT, value: "5300"}
{{- end }}
{{- if and (eq $service "collector") $root.Values.vcenters.ca.configMap }}
- {name: VCENTER_OPERATOR_VCENTER_CA, value: /etc/vcenter-operator/vcenters/{{ $root.Values.vcenters.ca.key }}}
{{- end }}
{{- if $cluster.enabled }}
{{- range $key := list "username" "password" }}
- name: RABBITMQ_{{ upper $key }}
  valueFrom: {secretKeyRef: {name: {{ include "name" (list $root $service) }}-user-credentials, key: {{ $key }}}}
{{- end }}
- {name: VCENTER_OPERATOR_BUS, value: "amqp://$(RABBITMQ_USERNAME):$(RABBITMQ_PASSWORD)@vcenter-operator-rabbitmq:5672/"}
{{- else if $root.Values.rabbitmq.url }}
- {name: VCENTER_OPERATOR_BUS, value: {{ $root.Values.rabbitmq.url | quote }}}
{{- end }}
{{- if $root.Values.rabbitmq.tls.enabled }}
- {name: VCENTER_OPERATOR_BUS_CA, value: /etc/vcenter-operator/rabbitmq/ca.crt}
- {name: VCENTER_OPERATOR_BUS_CERTIFICATE, value: /etc/vcenter-operator/rabbitmq/tls.crt}
- {name: VCENTER_OPERATOR_BUS_CERTIFICATE_KEY, value: /etc/vcenter-operator/rabbitmq/tls.key}
{{- end }}
{{- range $name, $value := mustMergeOverwrite (dict) $root.Values.settings $values.settings }}
- {name: {{ if ne $name "LOG_LEVEL" }}VCENTER_OPERATOR_{{ end }}{{ $name }}, value: {{ include "text" $value | quote }}}
{{- end }}
{{- with $root.Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Numbers of a values file are floats: 16777216 would become 1.6777216e+07. */}}
{{- define "text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- define "mounts" -}}
{{- $root := index . 0 }}
- {name: tmp, mountPath: /tmp}
{{- if $root.Values.rabbitmq.tls.enabled }}
- {name: rabbitmq, mountPath: /etc/vcenter-operator/rabbitmq, readOnly: true}
{{- end }}
{{- if and (eq (index . 1) "collector") $root.Values.vcenters.ca.configMap }}
- {name: vcenters, mountPath: /etc/vcenter-operator/vcenters, readOnly: true}
{{- end }}
{{- end }}

{{- define "volumes" -}}
{{- $root := index . 0 }}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
{{- if $root.Values.rabbitmq.tls.enabled }}
- name: rabbitmq
  secret: {secretName: {{ $root.Values.rabbitmq.tls.secretPrefix }}-{{ index . 1 }}, defaultMode: 0440}
{{- end }}
{{- if and (eq (index . 1) "collector") $root.Values.vcenters.ca.configMap }}
- name: vcenters
  configMap: {name: {{ $root.Values.vcenters.ca.configMap }}}
{{- end }}
{{- end }}
