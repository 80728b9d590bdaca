"""The experiment of Suárez et al. (2017), repeated: the paper's protocol beside an honest one."""
