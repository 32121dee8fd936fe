module plain-client

go 1.22
