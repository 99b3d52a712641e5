// The registry of images: CI may push, devices may pull the repositories that are named, nobody has the admin login.

@description('Its name: letters and digits.')
param name string

@description('Where it is.')
param location string

@description('What it wears.')
param tags object

@description('Its size.')
param size string

@description('The principal that pushes.')
param pusher string

@description('Repositories that devices may pull.')
param pulledRepositories array

var acrPush = '8311e382-0749-4cb8-b61a-304f252e45ec'
var acrDelete = 'c2f4ef07-c644-48eb-af81-4b1b4947fb11'
var readContent = [for each in pulledRepositories: 'repositories/${each}/content/read']
var readMetadata = [for each in pulledRepositories: 'repositories/${each}/metadata/read']

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: size
  }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
  }
}

resource pushing 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in [acrPush, acrDelete]: {
  name: guid(registry.id, pusher, role)
  scope: registry
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    principalId: pusher
    principalType: 'ServicePrincipal'
  }
}]

resource pulled 'Microsoft.ContainerRegistry/registries/scopeMaps@2023-07-01' = {
  parent: registry
  name: 'edge-devices'
  properties: {
    description: 'what devices pull'
    actions: concat(readContent, readMetadata)
  }
}

// Its password is made afterwards: az acr token credential generate (docs/infra.md).
resource token 'Microsoft.ContainerRegistry/registries/tokens@2023-07-01' = {
  parent: registry
  name: 'edge-devices'
  properties: {
    scopeMapId: pulled.id
    status: 'enabled'
  }
}

@description('Its resource id.')
output id string = registry.id

@description('Where images are pushed to.')
output host string = registry.properties.loginServer

@description('Who devices pull as.')
output pullUsername string = token.name
