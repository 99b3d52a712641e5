using 'main.bicep'

param name = 'ferry'
param environment = 'prod'
param federations = []
param pulledRepositories = [
  'taxi/nyc_taxi'
  'taxi/london_taxi'
  'taxi/companion'
]
param hubUnits = 2
