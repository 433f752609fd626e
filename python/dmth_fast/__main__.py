"""``python -m dmth_fast``: the same as the ``dmth-fast`` command."""

from dmth_fast.program import main

if __name__ == "__main__":
    main()
