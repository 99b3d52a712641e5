using 'main.bicep'

param name = 'ferry'
param environment = 'dev'
param federations = []
param pulledRepositories = [
  'taxi/nyc_taxi'
  'taxi/london_taxi'
  'taxi/companion'
]
param testDevice = true
param testDeviceKey = readEnvironmentVariable('EDGEFERRY_TEST_DEVICE_KEY', '')
