// Everything that one environment of edgeferry needs on Azure: workspace, registry, hub, vault, the identity that CI
// signs in as, its roles and nothing above them, and if wanted a virtual machine with IoT Edge to try a rollout on.
//   az deployment group what-if --resource-group GROUP --parameters infra/prod.bicepparam
targetScope = 'resourceGroup'

@description('Begins every name: letters and digits, e.g. ferry.')
@minLength(3)
@maxLength(12)
param name string

@description('The environment: dev, test or prod. Ends every name.')
@allowed([
  'dev'
  'test'
  'prod'
])
param environment string

@description('Where everything is.')
param location string = resourceGroup().location

@description('Who signs in as the CI identity without a secret: { name, issuer, subject } each; docs/ci.md has them.')
param federations array = []

@description('Size of the hub: S1, S2 or S3. Basic has no IoT Edge, and F1 takes ten deployments only.')
@allowed([
  'S1'
  'S2'
  'S3'
])
param hubSize string = 'S1'

@description('How many units of the hub.')
@minValue(1)
@maxValue(200)
param hubUnits int = 1

@description('Size of the registry.')
@allowed([
  'Basic'
  'Standard'
  'Premium'
])
param registrySize string = 'Standard'

@description('Repositories that devices may pull: PREFIX/MODEL of each model, and PREFIX/companion.')
param pulledRepositories array

@description('Whether there is a virtual machine with IoT Edge.')
param testDevice bool = false

@description('The SSH public key of who may sign in on that machine.')
param testDeviceKey string = ''

@description('From which address range it takes SSH, e.g. 203.0.113.7/32; empty: from none.')
param testDeviceFrom string = ''

var suffix = '${name}-${environment}'
var unique = '${name}${environment}${substring(uniqueString(resourceGroup().id), 0, 6)}'
var tags = {
  edgeferry: 'true'
  environment: environment
}

module identity 'identity.bicep' = {
  name: 'identity'
  params: {
    name: '${suffix}-ci'
    location: location
    tags: tags
    federations: federations
  }
}

module registry 'registry.bicep' = {
  name: 'registry'
  params: {
    name: unique
    location: location
    tags: tags
    size: registrySize
    pusher: identity.outputs.principalId
    pulledRepositories: pulledRepositories
  }
}

module hub 'hub.bicep' = {
  name: 'hub'
  params: {
    name: '${suffix}-hub'
    location: location
    tags: tags
    size: hubSize
    units: hubUnits
    operator: identity.outputs.principalId
  }
}

module vault 'vault.bicep' = {
  name: 'vault'
  params: {
    name: '${unique}kv'
    location: location
    tags: tags
    reader: identity.outputs.principalId
  }
}

module workspace 'workspace.bicep' = {
  name: 'workspace'
  params: {
    name: '${suffix}-ml'
    storageName: unique
    location: location
    tags: tags
    vaultId: vault.outputs.id
    registryId: registry.outputs.id
    scientist: identity.outputs.principalId
  }
}

module device 'device.bicep' = if (testDevice) {
  name: 'device'
  params: {
    name: '${suffix}-device'
    location: location
    tags: tags
    sshKey: testDeviceKey
    sshFrom: testDeviceFrom
  }
}

@description('What environments/NAME.toml says of the hub, the registry, the vault and the workspace.')
output settings object = {
  hub: {
    host: hub.outputs.host
  }
  registry: {
    host: registry.outputs.host
    pull_username: registry.outputs.pullUsername
  }
  vault: {
    name: vault.outputs.name
  }
  azure: {
    subscription_id: subscription().subscriptionId
    resource_group: resourceGroup().name
    workspace: workspace.outputs.name
  }
}

@description('The client id that CI signs in with.')
output clientId string = identity.outputs.clientId
