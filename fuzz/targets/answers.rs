#![cfg_attr(fuzzing, no_main)]

mapleai_fuzz::target!(answers);
