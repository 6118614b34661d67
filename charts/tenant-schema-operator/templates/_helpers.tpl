{{/* The name of the release's objects, cut so that suffixes fit. */}}
{{- define "operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "operator.ownLabels" -}}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels and annotations of an object: those by which the chart finds its objects, those of this object, and those that
all objects have; of two with the same name the former wins. Takes root, and perhaps component, labels and annotations. */}}
{{- define "operator.marks" -}}
{{- $own := fromYaml (include "operator.ownLabels" .root) -}}
{{- with .component -}}
{{- $_ := set $own "app.kubernetes.io/component" . -}}
{{- end -}}
labels:
  {{- merge $own (default dict .labels) .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (deepCopy (default dict .annotations)) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "operator.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The operator's own pods; those of the check before it goes have another component. */}}
{{- define "operator.podLabels" -}}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Which objects this operator works for, and what else the user says: the same for all of its pods. */}}
{{- define "operator.env" -}}
- name: TSO_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- with .Values.watchNamespaces }}
- name: TSO_WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.watchSelector }}
- name: TSO_WATCH_SELECTOR
  value: {{ . | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What all pods of the release have in common: who they are, how they find names, what they may, and where they run. */}}
{{- define "operator.pod" -}}
serviceAccountName: {{ include "operator.serviceAccountName" . }}
automountServiceAccountToken: true
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.volumes }}
volumes:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The same of their containers. */}}
{{- define "operator.container" -}}
image: {{ include "operator.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.containerSecurityContext | nindent 2 }}
{{- with .Values.volumeMounts }}
volumeMounts:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Rights in the operator's own namespace. */}}
{{- define "operator.ownRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, update, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
{{- end -}}

{{/* Rights on tenants and backups, in all namespaces or in each that is watched. */}}
{{- define "operator.tenantRules" -}}
- apiGroups: [edumatrixhub.io]
  resources: [tenantschemas, schemabackups]
  verbs: [get, list, watch, patch]
- apiGroups: [edumatrixhub.io]
  resources: [schemabackups]
  verbs: [create, delete]
- apiGroups: [edumatrixhub.io]
  resources: [tenantschemas/status, schemabackups/status]
  verbs: [patch]
{{ include "operator.eventRules" . }}
{{- end -}}

{{- define "operator.eventRules" -}}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Rights on the Secrets that applications connect with; the policy on them says which these are. Not patch: the API server
answers a patch whose outcome it cannot read with that outcome, the whole Secret, before any policy is asked. */}}
{{- define "operator.credentialRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, update]
{{- end -}}

{{/* A role in one namespace, given to the operator. Takes root, namespace, name and rules. */}}
{{- define "operator.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  {{- include "operator.marks" (dict "root" .root) | nindent 2 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  {{- include "operator.marks" (dict "root" .root) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "operator.serviceAccountName" .root }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}

{{/* The name of the policy that sets finalizers, and of its binding. */}}
{{- define "operator.finalizerPolicy" -}}
{{- printf "%s-finalizer" (include "operator.fullname" .) -}}
{{- end -}}

{{/* The name of the policy on the operator's Secrets, and of its binding: policies belong to no namespace, and no namespace has
a dot in its name, so that no two releases share one. */}}
{{- define "operator.secretPolicy" -}}
{{- printf "%s-secrets.%s" (include "operator.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* A selector as it is typed, such as `team=a,tier notin (test, trial),!old`, as a list of requirements of a LabelSelector. */}}
{{- define "operator.requirements" -}}
{{- $of := list -}}
{{- range regexFindAll `[^,(]+(\([^)]*\))?` . -1 -}}
{{- $text := regexReplaceAll `\s+` . " " | trim -}}
{{- if not $text -}}
{{- /* What stands between a closing bracket and a comma. */ -}}
{{- else if regexMatch `^[^ =!<>()]+ +(in|notin) *\([^()]*\)$` $text -}}
{{- $operator := ternary "NotIn" "In" (regexMatch ` +notin *\(` $text) -}}
{{- $values := list -}}
{{- range splitList "," (regexReplaceAll `^[^(]*\(|\)$` $text "") -}}
{{- $values = append $values (trim .) -}}
{{- end -}}
{{- $of = append $of (dict "key" (regexFind `^[^ ]+` $text) "operator" $operator "values" $values) -}}
{{- else if regexMatch `^[^ =!<>()]+ *(=|==|!=) *[^ =!<>()]*$` $text -}}
{{- $operator := ternary "NotIn" "In" (contains "!=" $text) -}}
{{- $of = append $of (dict "key" (regexFind `^[^ =!]+` $text) "operator" $operator "values" (list (regexFind `[^ =]*$` $text))) -}}
{{- else if regexMatch `^! *[^ =!<>()]+$` $text -}}
{{- $of = append $of (dict "key" (trimAll "! " $text) "operator" "DoesNotExist") -}}
{{- else if regexMatch `^[^ =!<>()]+$` $text -}}
{{- $of = append $of (dict "key" $text "operator" "Exists") -}}
{{- else -}}
{{- fail (printf "finalizerPolicy.enabled: watchSelector has %q, which no policy can say; a policy can say key=value, key!=value, key in (a, b), key notin (a, b), key and !key" $text) -}}
{{- end -}}
{{- end -}}
{{- toYaml $of -}}
{{- end -}}
