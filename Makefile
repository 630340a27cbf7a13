.PHONY: setup
setup:
	@tools/setup.sh
