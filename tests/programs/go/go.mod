module leakscope.test/fixtures

go 1.19
