using 'main.bicep'

param name = 'ferry'
param environment = 'test'
param federations = []
param pulledRepositories = [
  'taxi/nyc_taxi'
  'taxi/london_taxi'
  'taxi/companion'
]
