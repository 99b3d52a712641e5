// The Azure ML workspace with what it needs, and who may run pipelines there.

@description('Its name.')
param name string

@description('Name of its storage account: lower-case letters and digits, at most 24.')
@maxLength(24)
param storageName string

@description('Where it is.')
param location string

@description('What it wears.')
param tags object

@description('Resource id of its vault.')
param vaultId string

@description('Resource id of its registry.')
param registryId string

@description('The principal that runs pipelines.')
param scientist string

var dataScientist = 'f6c7c914-8db3-469d-8ca1-694a8f32e121'
var computeOperator = 'e503ece1-11d0-4e8e-8e2c-7a6c3bf38815'
var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: storageName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowBlobPublicAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${name}-logs'
  location: location
  tags: tags
  properties: {
    retentionInDays: 30
    sku: {
      name: 'PerGB2018'
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${name}-insights'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logs.id
  }
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2024-04-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    storageAccount: storage.id
    keyVault: vaultId
    applicationInsights: insights.id
    containerRegistry: registryId
    systemDatastoresAuthMode: 'identity'
  }
}

resource running 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in [dataScientist, computeOperator]: {
  name: guid(workspace.id, scientist, role)
  scope: workspace
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    principalId: scientist
    principalType: 'ServicePrincipal'
  }
}]

resource sending 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, scientist, blobDataContributor)
  scope: storage
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
    principalId: scientist
    principalType: 'ServicePrincipal'
  }
}

@description('Its name.')
output name string = workspace.name
