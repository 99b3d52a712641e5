// The identity that CI signs in as, by workload identity federation: no secret exists.

@description('Its name.')
param name string

@description('Where it is.')
param location string

@description('What it wears.')
param tags object

@description('Who may sign in as it: { name, issuer, subject } each.')
param federations array

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
  tags: tags
}

@batchSize(1) // Entra refuses several at once for one identity
resource federation 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2023-01-31' = [for each in federations: {
  parent: identity
  name: each.name
  properties: {
    issuer: each.issuer
    subject: each.subject
    audiences: [
      'api://AzureADTokenExchange'
    ]
  }
}]

@description('What roles are given to.')
output principalId string = identity.properties.principalId

@description('What it signs in with.')
output clientId string = identity.properties.clientId
