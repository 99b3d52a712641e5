// The hub: service calls sign in by Microsoft Entra only; devices have their own keys.

@description('Its name.')
param name string

@description('Where it is.')
param location string

@description('What it wears.')
param tags object

@description('Its size.')
param size string

@description('How many units.')
param units int

@description('The principal that rolls out.')
param operator string

var iotHubDataContributor = '4fc6c259-987e-4a07-842e-c321cc9d413f'

resource hub 'Microsoft.Devices/IotHubs@2023-06-30' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: size
    capacity: units
  }
  properties: {
    disableLocalAuth: false // devices' own keys are local authentication too
    minTlsVersion: '1.2'
    eventHubEndpoints: {
      events: {
        partitionCount: 4
        retentionTimeInDays: 1
      }
    }
  }
}

resource operating 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(hub.id, operator, iotHubDataContributor)
  scope: hub
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', iotHubDataContributor)
    principalId: operator
    principalType: 'ServicePrincipal'
  }
}

@description('Its host name.')
output host string = hub.properties.hostName
