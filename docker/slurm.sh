#!/bin/bash
# Runs a gradnoise command with all nodes of a Slurm job: `sbatch --nodes=4 docker/slurm.sh up`.
# Ray spans the nodes; the command runs on the first one. See docs/cluster.md.
#SBATCH --job-name=gradnoise
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

# outside the ranges of Ray's workers and of ephemeral ports
GRADNOISE_RAY_ADDRESS=$(hostname):$((20000 + SLURM_JOB_ID % 12000))
RAY_AUTH_TOKEN=$(od -An -v -N 32 -t x1 /dev/urandom | tr -d ' \n')
export GRADNOISE_RAY_ADDRESS RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0

# shellcheck disable=SC2016 # expands on the nodes
start_node='
if [ "$SLURM_PROCID" = 0 ]; then
  where="--head --port=${GRADNOISE_RAY_ADDRESS#*:} --include-dashboard=false"
else
  until ray health-check --address="$GRADNOISE_RAY_ADDRESS" > /dev/null 2>&1; do sleep 1; done
  where="--address=$GRADNOISE_RAY_ADDRESS"
fi
exec ray start --block $where --num-cpus="$SLURM_CPUS_PER_TASK" --object-store-memory=268435456'
srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" sh -c "$start_node" &
nodes=$!

until ray health-check --address="$GRADNOISE_RAY_ADDRESS" > /dev/null 2>&1; do
  kill -0 $nodes || exit 1
  sleep 1
done
gradnoise "$@" &
command=$!
trap 'kill -TERM $command' TERM INT
wait $command || true # ends early if a signal arrives
status=0
wait $command || status=$?
kill $nodes
wait $nodes || true
exit $status
