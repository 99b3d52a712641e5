// A virtual machine with IoT Edge 1.5, to try a rollout on. It has no role on Azure at all: it becomes a device by the
// connection string that is given to it afterwards (docs/infra.md), and takes connections from nobody unless told.

@description('Its name.')
param name string

@description('Where it is.')
param location string

@description('What it wears.')
param tags object

@description('The SSH public key of who may sign in.')
param sshKey string

@description('From which address range it takes SSH; empty: from none.')
param sshFrom string

resource rules 'Microsoft.Network/networkSecurityGroups@2023-11-01' = {
  name: '${name}-rules'
  location: location
  tags: tags
  properties: {
    securityRules: empty(sshFrom) ? [] : [
      {
        name: 'ssh'
        properties: {
          priority: 1000
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: sshFrom
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '22'
        }
      }
    ]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2023-11-01' = {
  name: '${name}-network'
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        '10.60.0.0/24'
      ]
    }
    subnets: [
      {
        name: 'devices'
        properties: {
          addressPrefix: '10.60.0.0/28'
          networkSecurityGroup: {
            id: rules.id
          }
        }
      }
    ]
  }
}

resource address 'Microsoft.Network/publicIPAddresses@2023-11-01' = {
  name: '${name}-address'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
  }
}

resource card 'Microsoft.Network/networkInterfaces@2023-11-01' = {
  name: '${name}-card'
  location: location
  tags: tags
  properties: {
    ipConfigurations: [
      {
        name: 'first'
        properties: {
          subnet: {
            id: network.properties.subnets[0].id
          }
          publicIPAddress: {
            id: address.id
          }
        }
      }
    ]
  }
}

resource machine 'Microsoft.Compute/virtualMachines@2024-03-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    hardwareProfile: {
      vmSize: 'Standard_B2s'
    }
    osProfile: {
      computerName: name
      adminUsername: 'edge'
      customData: loadFileAsBase64('device.yaml')
      linuxConfiguration: {
        disablePasswordAuthentication: true
        ssh: {
          publicKeys: [
            {
              path: '/home/edge/.ssh/authorized_keys'
              keyData: sshKey
            }
          ]
        }
      }
    }
    storageProfile: {
      imageReference: {
        publisher: 'Debian'
        offer: 'debian-12'
        sku: '12-gen2'
        version: 'latest'
      }
      osDisk: {
        createOption: 'FromImage'
        managedDisk: {
          storageAccountType: 'StandardSSD_LRS'
        }
      }
    }
    networkProfile: {
      networkInterfaces: [
        {
          id: card.id
        }
      ]
    }
  }
}
