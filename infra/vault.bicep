// The vault: CI reads secrets and signs with keys there; it can neither write nor list what it does not know.

@description('Its name: letters, digits and hyphens, at most 24.')
@maxLength(24)
param name string

@description('Where it is.')
param location string

@description('What it wears.')
param tags object

@description('The principal that reads secrets and signs.')
param reader string

var secretsUser = '4633458b-17de-408a-b874-0445c86b69e6'
var cryptoUser = '12338af0-0e69-4776-bea7-57ae8d297424'

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 90
  }
}

resource reading 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in [secretsUser, cryptoUser]: {
  name: guid(vault.id, reader, role)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    principalId: reader
    principalType: 'ServicePrincipal'
  }
}]

@description('Its resource id.')
output id string = vault.id

@description('Its name.')
output name string = vault.name
