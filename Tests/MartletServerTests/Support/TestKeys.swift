/// Key pairs made for these tests by openssl; nothing else knows them. `p384` is in the form that
/// openssl gave elliptic keys of old.
enum TestKeys {
  static let rsaPrivate = """
    -----BEGIN PRIVATE KEY-----
    MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCVtb79VrmEgUGg
    ZOqDC0RTA+W0pVll9z0bKaoaiQdRjHRPrIVyX/LrWXUbt4w7NpeEQxg6p9Qfoono
    39x72Ty1ADBLhqIfceQHEkYpgmBqwKTzBXH5wk73MAHOomom/d5+3Iv7zK5Te+le
    /wphgzX4CDoIKBWOtaf99vSVBneH1/wFkJvgNn9Wr9LjgXgmWA0EnMNC3wNtOQX1
    PARC6NE9eg1iK17KSloVjFbp8/C9czdRWC8EJBNkoJvPJHekWdMXkfz4SLXKQi28
    GUSLxERwJhWL01zrlVU2+1t66YM5t40fOQn17hUDLDyMA1fGfNh3L4CIOYWg7neQ
    GqBbjq+NAgMBAAECggEAHpkwscFPthIgCmsN1l5PZuM5R/hyoulLKznTC0zd+tAo
    9p7VgIi1Ut5sFc/oQLL5+V2oPlbOf2++XaMhgoumQX1KIamhCanCuCJHRlUgJTl+
    DTCb+Lb64kFE4UmnRhRlrQqhLsQJDkWZb2HTqpYBihIOYFvm+g3NSdY3a50Qgao2
    kP/mkpOwo7mcw/bX5i6oSXVclcXqAXpfLgUu46IjiwHC+7OrTMlLDHez31lZLHDY
    PpjijdsBxZFM/c9w5jdG/bS67AZ7CziFAO7wq5UsicH05yU5m64gfk1f2w0Z1kyg
    4nZQNlu57IgXXjjl1pi1xIKXJ7doaQPMpTKJpNv5AQKBgQDEGO4BEyORXXGSSRE8
    Dka2l59P3DmxgRe0lY+Ra0ElfoRxV6npQBdEzh6AeY5L+6ofV0yu7ljAhdgbki4t
    pvpGzG8rjCGlsS0AW5q+Wl4okeQnsJtbqN4cOA9PzqluEK5Ztsprr8ldBSuOeEzB
    GeOAYf33rvbejaA8ReDk8VNKjQKBgQDDcUItvTOC57yQQq8KDbohWriPlXECj9/O
    /61Fq4Umu8HSMguiQz/Wtz5bZmbsdGuA6/FN8ymE9ha/vErDwjVx95MDLPOAk93I
    HiwI86pYh+et6lCVNUj6CtYLceb+jroBwhKvtdvbx3nWYgdr5Z+XbNk0mOZNG3jR
    zmjxEao5AQKBgE8s9aPvc1P1E68J23CRHxIIRCW9eHnn8odSP8ZqNMKLw7PzvkHU
    Q9DfHEepTL/3G+hNmkOjLqiFIg13xzddjP3a+yPtD4TT9aSIWAF1gUEGLsWrs/6d
    PxjLtbr2aUhsackFWdODBV2OgdijT/JDnqyuZBmGRlzzd/f+CuDFY2jdAoGAXK1H
    SXMviwKiivHkGOtbeNeRLx0ZQrLA2WKqYqAr+qsMBMWQeLhU/FdWbXcIlVW7aJ35
    hhIpfRBIx1DdTyi3uTxB7T6SlUUI5Q1RqkkJXQPNG85Bug9TdKZQy4qOk+VQVOcX
    f1TIVdaocr13cXWokOCfuu5KPwQo7axoXPAYfQECgYEAmIo5CQ/Q1zGJ7emApVSW
    xyMQzrBjABVWwnO0ipyNkc1bzd0mntMFboseDR6Ck80apEWSJq5JZSBpIj0GggbL
    nkw+db9mZEyPlPJ5o29Rdt5Ou0F4m08XeYFkzekHgyHNUZlSJSkq27troniLUNb+
    fIbIiXPdIdx+f9TU/wxkbjE=
    -----END PRIVATE KEY-----
    """

  static let rsaPublic = """
    -----BEGIN PUBLIC KEY-----
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAlbW+/Va5hIFBoGTqgwtE
    UwPltKVZZfc9GymqGokHUYx0T6yFcl/y61l1G7eMOzaXhEMYOqfUH6KJ6N/ce9k8
    tQAwS4aiH3HkBxJGKYJgasCk8wVx+cJO9zABzqJqJv3eftyL+8yuU3vpXv8KYYM1
    +Ag6CCgVjrWn/fb0lQZ3h9f8BZCb4DZ/Vq/S44F4JlgNBJzDQt8DbTkF9TwEQujR
    PXoNYiteykpaFYxW6fPwvXM3UVgvBCQTZKCbzyR3pFnTF5H8+Ei1ykItvBlEi8RE
    cCYVi9Nc65VVNvtbeumDObeNHzkJ9e4VAyw8jANXxnzYdy+AiDmFoO53kBqgW46v
    jQIDAQAB
    -----END PUBLIC KEY-----
    """

  static let p256Private = """
    -----BEGIN PRIVATE KEY-----
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgK5nOI0pjs+LUagEc
    CMr0WKs+DuItGJDVPsLNpc+yzd2hRANCAARuqWd9RqPrLxMVa+8zSLykxLdZsBPN
    KnJgBzELn38KSqzb7kL/RzON1PF2DCrtwAJBP45GhFo/L2nA7KhE1OhJ
    -----END PRIVATE KEY-----
    """

  static let p256Public = """
    -----BEGIN PUBLIC KEY-----
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEbqlnfUaj6y8TFWvvM0i8pMS3WbAT
    zSpyYAcxC59/Ckqs2+5C/0czjdTxdgwq7cACQT+ORoRaPy9pwOyoRNToSQ==
    -----END PUBLIC KEY-----
    """

  static let p384Private = """
    -----BEGIN EC PRIVATE KEY-----
    MIGkAgEBBDCvujfrAI7/f73SUcC16I51IPTTphqIZo6ObGXW2DUdXe5rClcMtJGd
    qubFsn/WRMGgBwYFK4EEACKhZANiAASv1BbCVmkv9uHE3T8xADshHM9NISD//JkL
    BYzj61oZTKCvBfI9DxWxkKwk+SOG4WAXFaqX8gj8HzdF8h2wyNKRAQTc4BCfXM+Z
    GTmncPF5dPOSTe+44xWfV26KyGcqIpk=
    -----END EC PRIVATE KEY-----
    """

  static let p384Public = """
    -----BEGIN PUBLIC KEY-----
    MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEr9QWwlZpL/bhxN0/MQA7IRzPTSEg//yZ
    CwWM4+taGUygrwXyPQ8VsZCsJPkjhuFgFxWql/II/B83RfIdsMjSkQEE3OAQn1zP
    mRk5p3DxeXTzkk3vuOMVn1duishnKiKZ
    -----END PUBLIC KEY-----
    """

  static let p521Private = """
    -----BEGIN PRIVATE KEY-----
    MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIAUm9GrlMwcaIXHMG3
    ay0LvISc2BoNMrU3K7hdW92TUDPCgyBrtJ6VfWc+TfiW1U/VpAgxwdw3BoboZ+Zu
    iaMOBeehgYkDgYYABAE6ZVW4DYrc4KSK2fJ4WkZm/v4fL7PvqBejFNGXdLc7929i
    1m1xwGa0m6TzobCqrjclhFQCq7eXSxojPYo3wukxsABkNLYAyjqaUw/rRibiznzY
    dx2KojBt9bK5m2xUIsp33eyJXiEWXsU+fTLrfv1bzNia93pSUZrCOl48KyY4sxiB
    AQ==
    -----END PRIVATE KEY-----
    """

  static let p521Public = """
    -----BEGIN PUBLIC KEY-----
    MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBOmVVuA2K3OCkitnyeFpGZv7+Hy+z
    76gXoxTRl3S3O/dvYtZtccBmtJuk86Gwqq43JYRUAqu3l0saIz2KN8LpMbAAZDS2
    AMo6mlMP60Ym4s582HcdiqIwbfWyuZtsVCLKd93siV4hFl7FPn0y6379W8zYmvd6
    UlGawjpePCsmOLMYgQE=
    -----END PUBLIC KEY-----
    """

  static let ed25519Private = """
    -----BEGIN PRIVATE KEY-----
    MC4CAQAwBQYDK2VwBCIEINBy8quzV2RYFR7wyfA1xz0+Mk9DcGKJTsMP9fwvcL7C
    -----END PRIVATE KEY-----
    """

  static let ed25519Public = """
    -----BEGIN PUBLIC KEY-----
    MCowBQYDK2VwAyEAGMF8WkSzdU4i87Oztb7r4A+IZj7eB1f69yNcq+A6k5w=
    -----END PUBLIC KEY-----
    """
}
