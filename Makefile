# Every target is one call, so that what it does can be read, and run, without make.

.PHONY: help demo demo-clean test test-matrix bench soak crds fmt

help: ## Says what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## Installs, builds and starts Mooring here, deploys a shop, updates it under load and shows a rollback (root)
	@demo/run

demo-clean: ## Removes everything that the demo made on this host, and nothing else (root)
	@demo/clean

test: ## All tests but the matrix, the end-to-end tests against this host's Engine included (root)
	@.ci/test

test-matrix: ## The story on Engine 29, and against a real kube-apiserver with the chart's own RBAC (root)
	@.ci/matrix

bench: ## Prints what Mooring is measured by, in turns with what it is measured against (root)
	@.ci/bench

soak: ## Updates COUNT times under load, the operator killed in each, and books every request: make soak COUNT=100 (root)
	@.ci/soak $(COUNT)

crds: ## Generates crds/*.yaml and the chart's copy of them from the types
	@MOORING_REWRITE=1 .ci/crds

fmt: ## Formats the sources
	@cargo fmt --all
